"""What the two players want: pure functions of logits, features and gradients."""

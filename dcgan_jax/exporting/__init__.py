"""Runs as files for other programs: safetensors, StableHLO, ONNX, PyTorch, the Hugging Face Hub."""

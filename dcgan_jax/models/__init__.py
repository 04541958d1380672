"""Networks: arrays to arrays; no losses, configs or devices."""

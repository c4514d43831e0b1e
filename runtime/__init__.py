"""The runtime: particles, scheduling, randomness, engines and inference methods. It knows no Python syntax."""

"""The MLLM in Ray Serve."""

"""How the MLLM is asked: prompts, the engine, and questions that are counted, stored and calibrated."""

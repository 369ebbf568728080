"""GEM (NeurIPS 2024) on Ray: relation-aware disentanglement with a multimodal LLM in the loop."""

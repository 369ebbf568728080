"""The loop beside training: ask, and push what was found to the DisGraph."""

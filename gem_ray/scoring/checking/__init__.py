"""Whether a model can be trusted with the attributes, and scores of whole data sets."""

"""Tables of results: many training runs of one budget, evaluated alike, and what they amount to."""

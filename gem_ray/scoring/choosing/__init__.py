"""What to ask next: signals, values, a budget and a plan."""

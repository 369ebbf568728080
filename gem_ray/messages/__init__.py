"""Frozen types that cross a process boundary. Plain values only: no torch, no ray, no configuration objects.

Everything here pickles by value between Ray processes; nothing here is ever read back from storage by pickle.
"""

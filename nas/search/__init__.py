"""Search: the loop over trials, how it begins, goes on and ends."""

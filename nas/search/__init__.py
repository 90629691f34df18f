"""Search: the loop over trials, and what proposes them; imports study."""

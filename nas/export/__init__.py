"""Export: a network of a run as files that run, each checked before it is kept; imports study."""

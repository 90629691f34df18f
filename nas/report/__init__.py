"""Report: what a run found, as one self-contained page and as one picture; imports study."""

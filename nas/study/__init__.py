"""Study: trials that drivers share, and what they say of a run; imports evaluation."""

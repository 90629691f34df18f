"""What can be built: operators, graphs, blocks, published networks, spaces. Needs numpy only."""

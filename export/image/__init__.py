"""The image family: what its packets hold, how its tables are fitted, how its bundle is made and checked."""

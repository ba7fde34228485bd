"""Image family: photographs of any size, grey or colour."""

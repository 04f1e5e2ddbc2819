"""How it is going. Counting costs the path a few additions; everything else happens when somebody asks."""

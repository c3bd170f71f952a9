"""What `rpac setup` makes in an account, as templates of the cloud's own kind."""

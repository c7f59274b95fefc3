"""What is said about texts on their way: signals and rules of form, in four layers. Permissions never rest on them."""

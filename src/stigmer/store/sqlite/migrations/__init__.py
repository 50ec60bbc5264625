"""The migrations, by number; `migration` applies them."""

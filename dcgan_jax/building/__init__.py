"""The only readers of configs: networks, game, data, and the rules that a config must meet."""

"""The app in a browser: `luthier web`. Only that command imports this, and with it aiohttp."""

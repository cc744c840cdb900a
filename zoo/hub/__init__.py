"""The Hugging Face Hub: `read` (index and download), and `publish` (a weight's folder with its card, one commit)."""

"""Documents → passages → vectors → Chroma; search; judge. The ground floor: it knows neither `distill` nor `app`."""

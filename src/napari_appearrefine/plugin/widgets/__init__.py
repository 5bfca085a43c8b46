"""What the user sees; these touch no pixels and import no torch."""

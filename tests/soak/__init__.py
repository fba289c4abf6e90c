"""Long checks that are run by hand: real servers, real load, figures against bounds."""

"""Generated modules, one for each cell and variant.  GENERATED - edit derive/cells/, then run `derive generate`."""

"""An adapter that makes faces do what blendshapes say."""

"""Reading and writing: video, masks, flow, reports."""

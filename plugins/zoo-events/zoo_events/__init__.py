"""Data of event cameras for has8-zoo: recordings by name, events of still images, and answers over time."""

from zoo_events.frames import to_frames as to_frames
from zoo_events.i2e import image_to_events as image_to_events
from zoo_events.picture import answers_over_time as answers_over_time
from zoo_events.picture import draw_answers as draw_answers

"""The edits there are, by name: what each does. Brings no torch.

`tasks.TASKS` holds whose pieces make the picture, and what of the photo stays.
"""

SUMMARIES = {
    "swap": "The source's face in the target's photo, doing what the target does.",
    "head": "The source's whole head, hair and all, on the target's body.",
    "reenact": "The source's photo, the head held and the face moved as the target does.",
    "inpaint": "A region or a mask of the target's photo made anew, the person known.",
    "attribute": "The target older, smiling, turned ...: shift, expression, pose, or tokens of other photos.",
    "style": "The target as another base or other words would show it: load that base, or give a prompt.",
    "mix": "Any piece of the target from any other photo: tokens.",
}

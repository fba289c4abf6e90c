"""A working Falcon app with a ladder of messages, and the same app in five steps without it."""

STEPS = (
    'step0_legacy',
    'step1_install',
    'step2_first_message',
    'step3_rooms',
    'step4_all_messages',
    'step5_done',
)
"""The modules of the app, in the order of the steps."""

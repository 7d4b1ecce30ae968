"""A file read from its text alone, without being run.

How the ``if`` of a judged file is followed:

1. ``extract.extract`` parses the file, makes an ``Interpreter`` with the tables of handlers that
   the modules in ``interpreter/`` give, and has it run the file's statements one by one.
2. ``Interpreter.run_block`` (``interpreter/interpreter.py``) looks up each statement's handler by
   its type; that of an ``if`` is ``_if`` in ``interpreter/statements.py``.
3. ``_if`` evaluates the test (``Interpreter.evaluate``, handlers in ``interpreter/expressions.py``)
   and asks ``objects.truth`` whether it counts as true. Where that is known, only that block runs.
4. Where it is ``Unknown``, ``Interpreter.branch`` runs both blocks, one after the other from the
   same state: ``undo_log.Store.rollback`` takes the first block's changes back and keeps them.
5. ``Store.merge`` then joins what the two leave behind, slot by slot, by ``joining.join``: what is
   the same on both paths stays known, what differs becomes ``Unknown`` with the test as reason.
6. A path that raises is taken as not chosen. One that leaves early (``return``, ``break``,
   ``continue``) waits in ``Store.pending`` until ``Interpreter.settle`` joins it where its function
   or loop ends.
"""

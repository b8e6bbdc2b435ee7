# What `wstest` does, but every socket that listens is bound to 127.0.0.1. Runs under Python 2.7, and
# under Python 3 with the suite that port.py made.
import autobahntestsuite  # First: it installs the reactor.
from twisted.internet import reactor

tcp, ssl = reactor.listenTCP, getattr(reactor, "listenSSL", None)


def listen_tcp(port, factory, backlog=50, interface=""):
    return tcp(port, factory, backlog, "127.0.0.1")


def listen_ssl(port, factory, context, backlog=50, interface=""):
    return ssl(port, factory, context, backlog, "127.0.0.1")


reactor.listenTCP = listen_tcp
if ssl is not None:
    reactor.listenSSL = listen_ssl

from autobahntestsuite import wstest

wstest.run()

"""A small OpenIM: what it commits depends on the answers to its callbacks alone."""

from callback_models import TYPES, Model
from openim import read, refuses

NUMBERS = {name: number for number, name in enumerate(TYPES)}


class OpenImModel(Model):
    """Users register, create groups, join and leave them, and make friends."""

    def flows(self) -> dict:
        return {
            self.register: 10, self.create: 12, self.join: 20, self.invite: 14, self.quit: 10,
            self.kick: 5, self.dismiss: 5, self.befriend: 10, self.import_friends: 5,
            self.unfriend: 7, self.online: 2,
        }

    def register(self) -> None:
        """Users who are not registered are, all or none."""
        users = self.some_users(1, 3)
        with self.row("accounts"):
            if self.database.accounts & set(users) or refuses(self.im.register(*users)):
                return
            if self.strikes("commit failed"):
                return self.differs(self.above, "commit failed",
                                    *(("account", user) for user in users))
            with self.database.lock:
                self.database.accounts |= set(users)

    def create(self) -> None:
        """A group, with an id of the IM or of the sidecar."""
        owner, *members = self.some_users(1, 5)
        given = self.new_name() if self.rng.random() < 0.5 else ""
        kind = self.rng.choice(TYPES)
        group, answer = self._create(owner, members, given, NUMBERS[kind])
        if refuses(answer):
            return
        if self.strikes("commit failed"):
            return self.differs(self.above, "commit failed", *self._facts(group, [owner, *members]))
        self.database.create(group, kind, owner, members)
        self.report([], lambda im: im.after_create(group, owner, members, NUMBERS[kind]))

    def _create(self, owner, members, given: str, number: int):
        """The two callbacks, each to a sidecar of its own."""
        operation = f"{self.rng.getrandbits(128):032x}"
        asked = self.im.before_create(owner, members, group=given, group_type=number,
                                      operation_id=operation)
        if refuses(asked):
            return given, asked
        group = read(asked).get("groupID") or given
        assert group, asked
        return group, self.im.members_join(group, owner, *members, operation_id=operation)

    @staticmethod
    def _facts(group, users) -> list[tuple]:
        return [("group", group), *(("member", group, user) for user in users)]

    def _add(self, ask, users) -> None:
        """Users come into a group by whichever way, which passes the last callback."""
        group = self.some_group()
        if group is None:
            return
        with self.row(group):
            if group not in self.database.types:
                return
            facts = {user: ("member", group, user) for user in users}
            users = [user for user, fact in facts.items()
                     if user not in self.database.members[group] and not self.reports.busy(fact)]
            if not users or refuses(ask(group, users)):
                return
            if refuses(self.im.members_join(group, *users)):
                return
            if self.strikes("commit failed"):
                return self.differs(self.above, "commit failed", *(facts[user] for user in users))
            self.database.join(group, users)

    def join(self) -> None:
        """A user joins."""
        self._add(lambda group, users: self.im.before_join(group, users[0]), self.some_users(1, 1))

    def invite(self) -> None:
        """Some users are invited."""
        self._add(lambda group, users: self.im.before_invite(group, *users), self.some_users(1, 3))

    def _leave(self, count: int, report) -> None:
        group = self.some_group()
        if group is None:
            return
        with self.row(group):
            if group not in self.database.types:
                return
            members = sorted(self.database.members[group] - {self.database.owners[group]})
            users = self.rng.sample(members, min(count, len(members)))
            if not users:
                return
            self.database.leave(group, users)
            facts = [("member", group, user) for user in users]
            if self.strikes("leave lost"):
                return self.differs(self.above, "leave lost", *facts)
            self.report(facts, lambda im: report(im, group, users))

    def quit(self) -> None:
        """A member quits."""
        self._leave(1, lambda im, group, users: im.quit(group, users[0]))

    def kick(self) -> None:
        """Members are kicked."""
        self._leave(2, lambda im, group, users: im.kick(group, *users))

    def dismiss(self) -> None:
        """A group is dismissed."""
        group = self.some_group()
        if group is None:
            return
        with self.row(group):
            if group not in self.database.types:
                return
            owner, members = self.database.owners[group], set(self.database.members[group])
            kind = self.database.types[group]
            self.database.dismiss(group)
            if self.strikes("leave lost"):
                return self.differs(self.above, "leave lost", *self._facts(group, members))
            self.report([], lambda im: im.dismiss(group, owner, members, NUMBERS[kind]))

    def befriend(self) -> None:
        """A request, and its acceptance."""
        user, friend = self.some_users(2, 2)
        facts = [("friend", user, friend), ("friend", friend, user)]
        with self.row("friends"):
            if self.reports.busy(*facts) or friend in self.database.friends[user]:
                return
            if refuses(self.im.before_add_friend(user, friend)):
                return
            if self.rng.random() < 0.2:
                self.im.agree(user, friend, -1)
                return
            if refuses(self.im.agree(user, friend)):
                return
            if self.strikes("commit failed"):
                return self.differs(self.above, "commit failed", *facts)
            self._make_friends(user, friend)

    def _make_friends(self, user: str, friend: str) -> None:
        with self.database.lock:
            self.database.friends[user].add(friend)
            self.database.friends[friend].add(user)

    def import_friends(self) -> None:
        """Some friends of a user; the answer may have fewer."""
        user, *friends = self.some_users(2, 5)
        with self.row("friends"):
            with self.database.lock:
                friends = [
                    friend for friend in friends if not self.reports.busy(
                        ("friend", user, friend), ("friend", friend, user))]
            if not friends:
                return
            answer = self.im.import_friends(user, *friends)
            if refuses(answer):
                return
            admitted = read(answer).get("friendUserIDs") or friends
            assert set(admitted) <= set(friends), answer
            if self.strikes("commit failed"):
                return self.differs(
                    self.above, "commit failed",
                    *(("friend", user, friend) for friend in admitted),
                    *(("friend", friend, user) for friend in admitted))
            for friend in admitted:
                self._make_friends(user, friend)

    def unfriend(self) -> None:
        """A user removes a friend from their own list."""
        user = self.rng.choice(self.users)
        with self.row("friends"), self.database.lock:
            friends = sorted(self.database.friends[user])
            if not friends:
                return
            friend = self.rng.choice(friends)
            fact = ("friend", user, friend)
            if self.reports.busy(fact):
                return
            self.database.friends[user].discard(friend)
            if self.strikes("leave lost"):
                return self.differs(self.above, "leave lost", fact)
            self.report([fact], lambda im: im.delete_friend(user, friend))

    def online(self) -> None:
        """A user comes online."""
        user = self.rng.choice(self.users)
        self.report([], lambda im: im.online(user))

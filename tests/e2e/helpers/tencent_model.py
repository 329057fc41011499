"""A small IM of Tencent's kind: without an answer, or with one that it cannot read, it goes on."""

from collections import defaultdict

from callback_models import TYPES, UNTRACKED, Model
from tencent import friend_codes, now_ms, refused_members, refuses

NAMES = {"Public": "Public", "Private": "Work", "ChatRoom": "Meeting", UNTRACKED: UNTRACKED}


class TencentModel(Model):
    """Users create groups, are invited, apply, leave, and make friends."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.left_over = defaultdict(set)
        """The members of creations that were asked and never reported, by what they are matched
        by."""

    def flows(self) -> dict:
        return {
            self.create: 14, self.invite: 24, self.apply: 16, self.leave: 14, self.destroy: 5,
            self.add_friends: 8, self.befriend: 10, self.unfriend: 7, self.login: 2,
        }

    def ask(self, call) -> object | None:
        """The answer to a question before a commit; `None`: none came in time, whether the
        question has arrived or not, and the IM goes on."""
        if not self.strikes("no answer in time"):
            return call(self.im)
        if self.rng.random() < 0.5:
            call(self.im)
        return None

    def create(self) -> None:
        """A group, which has no id before it is committed. An owner creates one at a time."""
        owner, *members = self.some_users(1, 5)
        kind, name = self.rng.choice(TYPES), f"name {self.rng.randrange(3)}"
        with self.row(("creations", owner)):
            self._create(f"@TGS#{self.new_name()}", kind, owner, members, name)

    def _create(self, group: str, kind: str, owner: str, members: list, name: str) -> None:
        answer = self.ask(lambda im: im.before_create(owner, members, NAMES[kind], name))
        if answer is not None and refuses(answer):
            return
        alike = self.left_over[owner, kind, name]
        if answer is not None and self.strikes("commit failed"):
            # The placeholder ends by itself, unless a group like it takes its place before.
            alike.update(members)
            return
        facts = [("group", group), *(("member", group, user) for user in (owner, *members))]
        if answer is None:
            self.without_an_answer(facts)
        if self.strikes("report lost"):
            self.differs(self.below, "went on without an answer", *facts)
            alike.update(members)
        else:
            self.differs(self.above, "commit failed", *(("member", group, it) for it in alike))
            # Others see the group when its report is answered.
            self.im.after_create(group, owner, members, NAMES[kind], name)
        self.database.create(group, kind, owner, members)

    def invite(self) -> None:
        """Users are invited; some of them may be refused."""
        users = self.some_users(1, 4)
        self._add(users, lambda im, group, users, kind: im.before_invite(group, users, kind),
                  kept=True)

    def apply(self) -> None:
        """A user joins a group that needs no approval, or asks one that does."""
        (user,) = self.some_users(1, 1)
        self._add([user], lambda im, group, users, kind: im.before_apply(group, user, kind),
                  kept=False)

    def _add(self, users, question, kept: bool) -> None:
        group = self.some_group()
        if group is None:
            return
        with self.row(group):
            kind = self.database.types.get(group)
            if kind is None or (not kept and kind == "Private"):
                return
            facts = {user: ("member", group, user) for user in users}
            users = [user for user, fact in facts.items()
                     if user not in self.database.members[group] and not self.reports.busy(fact)]
            if not users:
                return
            answer = self.ask(lambda im: question(im, group, users, NAMES[kind]))
            if answer is not None:
                if refuses(answer) or (not kept and kind == "Public"):
                    # An administrator has to accept, and does not.
                    return
                users = [user for user in users if user not in refused_members(answer)]
                if self.strikes("commit failed"):
                    if kept:
                        self.differs(self.above, "commit failed", *(facts[it] for it in users))
                    return
            elif not kept and kind == "Public":
                return
            self._commit_members(group, kind, users, answer, kept)

    def _commit_members(self, group, kind, users, answer, kept: bool) -> None:
        facts = [("member", group, user) for user in users]
        if answer is None:
            self.without_an_answer(facts)
        self.database.join(group, users)
        at = now_ms()
        if not self.strikes("report lost"):
            self.report(facts, lambda im: im.after_join(group, users, NAMES[kind], at=_as_sent(at)))
        elif answer is None or not kept or ("group", group) in self.below:
            self.differs(self.below, "went on without an answer", *facts)

    def leave(self) -> None:
        """Members leave, or are removed."""
        group = self.some_group()
        if group is None:
            return
        with self.row(group):
            if group not in self.database.types:
                return
            members = self.database.members[group] - {self.database.owners[group]}
            members = [it for it in sorted(members) if not self.reports.busy(("member", group, it))]
            users = self.rng.sample(members, min(self.rng.randint(1, 2), len(members)))
            if not users:
                return
            self.database.leave(group, users)
            facts, at = [("member", group, user) for user in users], now_ms()
            kind = NAMES[self.database.types[group]]
            if self.strikes("leave lost"):
                return self.differs(self.above, "leave lost", *facts)
            self.report(facts, lambda im: im.after_exit(group, users, kind, at=_as_sent(at)))

    def destroy(self) -> None:
        """A group is destroyed, unless a report about it is on its way."""
        group = self.some_group()
        if group is None:
            return
        with self.row(group):
            if group not in self.database.types or self.reports.busy(("of", group)):
                return
            members, kind = set(self.database.members[group]), self.database.types[group]
            self.database.dismiss(group)
            if self.strikes("leave lost"):
                facts = [("group", group), *(("member", group, user) for user in members)]
                return self.differs(self.above, "leave lost", *facts)
            self.report([], lambda im: im.destroyed(group, members, NAMES[kind]))

    # Friends.

    def add_friends(self) -> None:
        """A user puts others on their own list."""
        user, *friends = self.some_users(2, 4)
        with self.row("friends"):
            friends = [it for it in friends if not self.reports.busy(("friend", user, it))
                       and it not in self.database.friends[user]]
            if not friends:
                return
            answer = self.ask(lambda im: im.prev_friend_add(user, friends))
            self._commit_friends(answer, [(user, friend) for friend in friends],
                                 {friend: (user, friend) for friend in friends})

    def befriend(self) -> None:
        """A user asks, and the other answers: on both lists, or on the first one's alone."""
        user, friend = self.some_users(2, 2)
        pairs = [(user, friend), (friend, user)]
        with self.row("friends"):
            if any(self.reports.busy(("friend", *pair)) for pair in pairs):
                return
            if friend in self.database.friends[user]:
                return
            asked = self.ask(lambda im: im.prev_friend_add(user, [friend], "Add_Type_Both"))
            if asked is not None and friend_codes(asked) != [(friend, 0)]:
                return
            action = self.rng.choice(["Agree", "AgreeAndAdd", "Reject"])
            answer = self.ask(lambda im: im.prev_friend_response(friend, [user], action))
            if action == "Reject":
                return
            pairs = pairs[:1] if action == "Agree" else pairs
            self._commit_friends(answer, pairs, {user: None})

    def _commit_friends(self, answer, pairs, by_item: dict) -> None:
        """Commits the pairs of the items that the answer lets pass, and reports them."""
        if answer is not None:
            refused = {item for item, code in friend_codes(answer) if code}
            assert {item for item, _ in friend_codes(answer)} == set(by_item), answer
            left_out = {by_item[item] for item in refused}
            pairs = [] if None in left_out else [it for it in pairs if it not in left_out]
        facts = [("friend", *pair) for pair in pairs]
        if not pairs:
            return
        if answer is not None and self.strikes("commit failed"):
            return self.differs(self.above, "commit failed", *facts)
        if answer is None:
            self.without_an_answer(facts)
        with self.database.lock:
            for user, friend in pairs:
                self.database.friends[user].add(friend)
        if self.strikes("report lost"):
            if answer is None:
                self.differs(self.below, "went on without an answer", *facts)
            return
        self.report(facts, lambda im: im.friend_add(*pairs))

    def unfriend(self) -> None:
        """A user removes a friend, from their own list or from both."""
        user = self.rng.choice(self.users)
        with self.row("friends"):
            friends = sorted(self.database.friends[user])
            if not friends:
                return
            friend = self.rng.choice(friends)
            pairs = [(user, friend)]
            if user in self.database.friends[friend] and self.rng.random() < 0.5:
                pairs.append((friend, user))
            facts = [("friend", *pair) for pair in pairs]
            if self.reports.busy(*facts):
                return
            with self.database.lock:
                for one, other in pairs:
                    self.database.friends[one].discard(other)
            if self.strikes("leave lost"):
                return self.differs(self.above, "leave lost", *facts)
            self.report(facts, lambda im: im.friend_delete(*pairs))

    def login(self) -> None:
        """A user logs in."""
        user = self.rng.choice(self.users)
        self.report([], lambda im: im.state(user))


def _as_sent(at: int):
    """An EventTime: a number, or a text."""
    return str(at) if at % 2 else at

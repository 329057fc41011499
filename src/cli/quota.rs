//! `imquota quota`: makes the calls of an IM server by hand, for operators and for trying out.

use clap::{Args, Subcommand, ValueEnum};

use super::Exit;
use super::connect::DataAddress;
use super::error::Error;
use super::output::Format;
use super::session::{CallFlags, Session};
use crate::grpc::pb;
use crate::grpc::pb::quota_service_client::QuotaServiceClient;

const EXAMPLE: &str = "\
Example:
  imquota quota create-group --app demo --group g1 --type Private --owner alice bob";

/// Arguments of `imquota quota`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct Quota {
    #[command(flatten)]
    to: DataAddress,
    #[command(flatten)]
    flags: CallFlags,
    #[command(subcommand)]
    command: QuotaCommand,
}

impl Quota {
    /// Returns the output format.
    pub fn format(&self) -> Format {
        self.flags.format()
    }
}

#[derive(Debug, Subcommand)]
enum QuotaCommand {
    /// Take an account of the app for each user.
    #[command(after_help = "Example:\n  imquota quota create-accounts --app demo alice bob")]
    CreateAccounts {
        #[command(flatten)]
        users: Users,
        #[command(flatten)]
        take: Take,
    },
    /// Delete accounts, with their groups and friendships.
    #[command(after_help = "Example:\n  imquota quota delete-accounts --app demo bob")]
    DeleteAccounts {
        #[command(flatten)]
        users: Users,
    },
    /// Add friends to a user's list, and the user to theirs.
    #[command(after_help = "Example:\n  imquota quota add-friends --app demo --user alice bob")]
    AddFriends {
        #[command(flatten)]
        friends: Friends,
        #[command(flatten)]
        take: Take,
    },
    /// Remove friends from a user's list, and the user from theirs.
    #[command(after_help = "Example:\n  imquota quota remove-friends --app demo --user alice bob")]
    RemoveFriends {
        #[command(flatten)]
        friends: Friends,
    },
    /// Create a group, with its owner and first members.
    #[command(after_help = EXAMPLE)]
    CreateGroup(NewGroup),
    /// Change the group's own member limit.
    #[command(after_help = "\
Example:
  imquota quota update-group --app demo --group g1 --max-members 50
  imquota quota update-group --app demo --group g1 --no-max-members")]
    UpdateGroup {
        #[command(flatten)]
        group: Group,
        #[command(flatten)]
        limit: OwnLimit,
    },
    /// Add members to a group.
    #[command(after_help = "Example:\n  imquota quota join-group --app demo --group g1 carol dave")]
    JoinGroup {
        #[command(flatten)]
        group: Group,
        #[command(flatten)]
        members: Members,
        #[command(flatten)]
        take: Take,
    },
    /// Remove members from a group.
    #[command(after_help = "Example:\n  imquota quota leave-group --app demo --group g1 carol")]
    LeaveGroup {
        #[command(flatten)]
        group: Group,
        #[command(flatten)]
        members: Members,
    },
    /// Make permanent what was taken with --hold; what had expired is taken anew.
    #[command(after_help = "\
Example:
  imquota quota join-group --app demo --group g1 carol --hold 60 --operation-id op1
  imquota quota confirm-hold --app demo --operation-id op1")]
    ConfirmHold {
        #[command(flatten)]
        hold: Hold,
        /// Take what had expired anew even over a limit
        #[arg(long)]
        force: bool,
    },
    /// Release what was taken with --hold and is not confirmed.
    #[command(after_help = "Example:\n  imquota quota release-hold --app demo --operation-id op1")]
    ReleaseHold {
        #[command(flatten)]
        hold: Hold,
    },
    /// Dissolve a group and release everything held through it.
    #[command(after_help = "Example:\n  imquota quota dissolve-group --app demo --group g1")]
    DissolveGroup {
        #[command(flatten)]
        group: Group,
    },
}

#[derive(Debug, Args)]
struct Users {
    /// The app
    #[arg(long)]
    app: String,
    #[command(flatten)]
    members: Members,
}

#[derive(Debug, Args)]
struct Members {
    /// The users
    #[arg(required = true, value_name = "USER")]
    ids: Vec<String>,
}

#[derive(Debug, Args)]
struct Friends {
    /// The app
    #[arg(long)]
    app: String,
    /// The user whose list it is
    #[arg(long)]
    user: String,
    /// Do not change the friends' own lists
    #[arg(long)]
    one_way: bool,
    /// The friends
    #[arg(required = true, value_name = "FRIEND")]
    ids: Vec<String>,
}

#[derive(Debug, Args)]
struct Group {
    /// The app
    #[arg(long)]
    app: String,
    /// The group
    #[arg(long)]
    group: String,
}

#[derive(Debug, Args)]
struct NewGroup {
    #[command(flatten)]
    group: Group,
    /// The group type, such as Private, Public, ChatRoom, AVChatRoom or BChatRoom
    #[arg(long = "type", value_name = "TYPE")]
    kind: String,
    /// The owner, who is also a member
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// The group's own member limit
    #[arg(long, value_name = "N")]
    max_members: Option<u32>,
    /// The group's id was allocated by the IM, so it may start with @TGS#
    #[arg(long)]
    allocated_by_im: bool,
    /// The held group that becomes this one, with its members
    #[arg(long, value_name = "GROUP")]
    replaces: Option<String>,
    /// Further members
    #[arg(value_name = "MEMBER")]
    members: Vec<String>,
    #[command(flatten)]
    take: Take,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct OwnLimit {
    /// Maximum number of members of the group
    #[arg(long, value_name = "N")]
    max_members: Option<u32>,
    /// Remove the group's own limit
    #[arg(long)]
    no_max_members: bool,
}

#[derive(Debug, Clone, Args)]
struct Take {
    /// Enforcement mode
    #[arg(long, value_enum, default_value_t = Mode::Enforce)]
    mode: Mode,
    /// Take all of them or, if any is denied, none
    #[arg(long)]
    all_or_nothing: bool,
    /// End what is taken after that many seconds, unless it is confirmed (quota confirm-hold)
    #[arg(long, value_name = "SECONDS", requires = "operation_id")]
    hold: Option<u32>,
    /// The id of the operation, by which its hold is confirmed or released
    #[arg(long, value_name = "ID", requires = "hold")]
    operation_id: Option<String>,
}

#[derive(Debug, Args)]
struct Hold {
    /// The app
    #[arg(long)]
    app: String,
    /// The id that the takes had
    #[arg(long, value_name = "ID")]
    operation_id: String,
    /// Only holds of these facts
    #[arg(long, value_enum)]
    relation: Option<Relation>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Relation {
    /// Holds of create-accounts
    Accounts,
    /// Holds of add-friends
    Friends,
    /// Holds of create-group and join-group
    Groups,
}

impl Hold {
    fn relation(&self) -> i32 {
        let relation = match self.relation {
            None => pb::HoldRelation::Unspecified,
            Some(Relation::Accounts) => pb::HoldRelation::Accounts,
            Some(Relation::Friends) => pb::HoldRelation::Friends,
            Some(Relation::Groups) => pb::HoldRelation::Groups,
        };
        relation.into()
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// Decide, and apply what is allowed
    Enforce,
    /// Decide, and apply nothing (dry run)
    CheckOnly,
    /// Apply everything, and report what would have been denied
    Shadow,
    /// Apply everything, even over a limit
    Force,
}

impl Take {
    /// Returns the fields of a request: mode, whole batch, seconds of the hold, and its id.
    fn into_fields(self) -> (i32, bool, Option<u32>, String) {
        (self.mode(), self.all_or_nothing, self.hold, self.operation_id.unwrap_or_default())
    }

    fn mode(&self) -> i32 {
        let mode = match self.mode {
            Mode::Enforce => pb::Mode::Enforce,
            Mode::CheckOnly => pb::Mode::CheckOnly,
            Mode::Shadow => pb::Mode::Shadow,
            Mode::Force => pb::Mode::Force,
        };
        mode.into()
    }
}

/// Makes the call and prints a row per id.
pub async fn run(args: Quota) -> Result<Exit, Error> {
    let session = Session::open(args.to.target()?, args.flags).await?;
    let mut client = QuotaServiceClient::new(session.channel());
    match args.command {
        QuotaCommand::CreateAccounts { users, take } => {
            let request = users.taken(take);
            session.finish(client.create_accounts(session.request(request)).await)
        }
        QuotaCommand::DeleteAccounts { users } => {
            let (app_id, user_ids) = (users.app, users.members.ids);
            let request = pb::DeleteAccountsRequest { app_id, user_ids };
            session.finish(client.delete_accounts(session.request(request)).await)
        }
        QuotaCommand::AddFriends { friends, take } => {
            let request = friends.added(take);
            session.finish(client.add_friends(session.request(request)).await)
        }
        QuotaCommand::RemoveFriends { friends } => {
            let Friends { app: app_id, user: user_id, one_way, ids: friend_ids } = friends;
            let request = pb::RemoveFriendsRequest { app_id, user_id, friend_ids, one_way };
            session.finish(client.remove_friends(session.request(request)).await)
        }
        QuotaCommand::CreateGroup(group) => {
            let request = pb::CreateGroupRequest::from(group);
            session.finish(client.create_group(session.request(request)).await)
        }
        QuotaCommand::UpdateGroup { group: Group { app: app_id, group: group_id }, limit } => {
            let max_members = limit.max_members;
            let request = pb::UpdateGroupRequest { app_id, group_id, max_members };
            session.finish(client.update_group(session.request(request)).await)
        }
        QuotaCommand::JoinGroup { group, members, take } => {
            let request = group.joined(members, take);
            session.finish(client.join_group(session.request(request)).await)
        }
        QuotaCommand::LeaveGroup { group: Group { app, group }, members } => {
            let (app_id, group_id, user_ids) = (app, group, members.ids);
            let request = pb::LeaveGroupRequest { app_id, group_id, user_ids };
            session.finish(client.leave_group(session.request(request)).await)
        }
        QuotaCommand::DissolveGroup { group: Group { app: app_id, group: group_id } } => {
            let request = pb::DissolveGroupRequest { app_id, group_id };
            session.finish(client.dissolve_group(session.request(request)).await)
        }
        QuotaCommand::ConfirmHold { hold, force } => {
            let relation = hold.relation();
            let mode = if force { pb::Mode::Force } else { pb::Mode::Enforce }.into();
            let Hold { app: app_id, operation_id, .. } = hold;
            let request = pb::ConfirmHoldRequest { app_id, operation_id, relation, mode };
            session.finish(client.confirm_hold(session.request(request)).await)
        }
        QuotaCommand::ReleaseHold { hold } => {
            let relation = hold.relation();
            let Hold { app: app_id, operation_id, .. } = hold;
            let request = pb::ReleaseHoldRequest { app_id, operation_id, relation };
            session.finish(client.release_hold(session.request(request)).await)
        }
    }
}

impl Users {
    fn taken(self, take: Take) -> pb::CreateAccountsRequest {
        let (app_id, user_ids) = (self.app, self.members.ids);
        let (mode, all_or_nothing, hold_seconds, operation_id) = take.into_fields();
        pb::CreateAccountsRequest {
            app_id,
            user_ids,
            mode,
            all_or_nothing,
            hold_seconds,
            operation_id,
        }
    }
}

impl Friends {
    fn added(self, take: Take) -> pb::AddFriendsRequest {
        let Self { app: app_id, user: user_id, one_way, ids: friend_ids } = self;
        let (mode, all_or_nothing, hold_seconds, operation_id) = take.into_fields();
        pb::AddFriendsRequest {
            app_id,
            user_id,
            friend_ids,
            one_way,
            mode,
            all_or_nothing,
            hold_seconds,
            operation_id,
        }
    }
}

impl Group {
    fn joined(self, members: Members, take: Take) -> pb::JoinGroupRequest {
        let (app_id, group_id, user_ids) = (self.app, self.group, members.ids);
        let (mode, all_or_nothing, hold_seconds, operation_id) = take.into_fields();
        pb::JoinGroupRequest {
            app_id,
            group_id,
            user_ids,
            mode,
            all_or_nothing,
            hold_seconds,
            operation_id,
        }
    }
}

impl From<NewGroup> for pb::CreateGroupRequest {
    fn from(new: NewGroup) -> Self {
        let (mode, all_or_nothing, hold_seconds, operation_id) = new.take.into_fields();
        Self {
            app_id: new.group.app,
            group_id: new.group.group,
            r#type: new.kind,
            owner_id: new.owner,
            member_ids: new.members,
            max_members: new.max_members,
            group_id_allocated_by_im: new.allocated_by_im,
            mode,
            all_or_nothing,
            hold_seconds,
            operation_id,
            replaces_group_id: new.replaces.unwrap_or_default(),
        }
    }
}

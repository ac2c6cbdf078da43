//! What a cgroup path says: the systemd unit and the container.
//!
//! In: the text of `/proc/PID/cgroup`, which container runtimes shape as they like. Out: names,
//! where the path has a known shape. Pure.

/// What a process belongs to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Membership {
    /// The path itself: of the v2 hierarchy, or on v1 hosts of systemd's.
    pub path: Option<String>,
    /// Innermost systemd unit.
    pub unit: Option<String>,
    /// Container id: 64 hex digits.
    pub container: Option<String>,
}

/// Reads the content of `/proc/PID/cgroup` (cgroups(7)): lines of `id:controllers:path`.
#[must_use]
pub fn parse(text: &str) -> Membership {
    let lines: Vec<_> = text.lines().filter_map(split).collect();
    let unified = lines.iter().find(|(controllers, _)| controllers.is_empty());
    let systemd = lines.iter().find(|(controllers, _)| *controllers == "name=systemd");
    // Under the hybrid layout the v2 path may be the root while v1 tells the truth.
    let chosen = [unified, systemd]
        .into_iter()
        .flatten()
        .max_by_key(|(_, path)| usize::from(*path != "/"))
        .or(lines.first());
    let Some(&(_, path)) = chosen else { return Membership::default() };
    let unit = path.rsplit('/').find(|part| is_unit(part)).map(str::to_owned);
    let container = path.rsplit('/').find_map(container_id).map(str::to_owned);
    Membership { path: Some(path.to_owned()), unit, container }
}

fn split(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(':')?;
    rest.split_once(':')
}

fn is_unit(part: &str) -> bool {
    [".service", ".scope"].iter().any(|suffix| part.len() > suffix.len() && part.ends_with(suffix))
}

/// The id in `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID`, or a bare `ID`.
fn container_id(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let id = part.rsplit(['-', ':']).next()?;
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn check(text: &str, unit: Option<&str>, container: Option<&str>) {
        let found = parse(text);
        assert_eq!((found.unit.as_deref(), found.container.as_deref()), (unit, container));
    }

    #[test]
    fn a_service_on_a_v2_host() {
        check("0::/system.slice/nginx.service\n", Some("nginx.service"), None);
    }

    #[test]
    fn a_template_instance_keeps_its_name() {
        check("0::/system.slice/system-api.slice/api@3.service\n", Some("api@3.service"), None);
    }

    #[test]
    fn containers_of_several_runtimes() {
        let scope = format!("docker-{ID}.scope");
        check(&format!("0::/system.slice/{scope}\n"), Some(&scope), Some(ID));
        let scope = format!("cri-containerd-{ID}.scope");
        let pod = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice";
        check(&format!("0::/{pod}/{scope}\n"), Some(&scope), Some(ID));
        check(&format!("12:memory:/docker/{ID}\n"), None, Some(ID));
    }

    #[test]
    fn under_the_hybrid_layout_the_named_hierarchy_tells_more_than_an_empty_v2_path() {
        check("1:name=systemd:/system.slice/a.service\n0::/\n", Some("a.service"), None);
    }

    #[test]
    fn odd_text_is_no_membership() {
        check("", None, None);
        check("nonsense", None, None);
        check("0::/.service\n", None, None);
    }
}

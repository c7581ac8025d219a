package devbroker

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// validate checks what the manifest's own checks cannot know: which subjects
// the conventions have room for.
func validate(users []User) error {
	known := make(map[string]bool)
	for _, u := range users {
		if u.Name == "" || u.Password == "" || strings.ContainsAny(u.Name, ".*> \t$") {
			return fmt.Errorf("broker: a user needs a name without dots, wildcards and spaces, and a password; %q has not", u.Name)
		}
		if known[u.Name] {
			return fmt.Errorf("broker: user %q is given twice", u.Name)
		}
		known[u.Name] = true
		for _, subject := range u.Publishes {
			if publisher(subject) != u.Name && !u.Outside || !validSubject(subject) {
				return fmt.Errorf("broker: %q publishes %q, which is not %s.<event>", u.Name, subject, u.Name)
			}
		}
		for _, subject := range u.Consumes {
			if !validSubject(subject) || strings.ContainsAny(publisher(subject), "*>$") {
				return fmt.Errorf("broker: %q consumes %q, which is not <service>.<event>", u.Name, subject)
			}
		}
	}
	return nil
}

// publisher is the service that an event belongs to.
func publisher(subject string) string {
	name, _, _ := strings.Cut(subject, ".")
	return name
}

func validSubject(subject string) bool {
	tokens := strings.Split(subject, ".")
	return len(tokens) > 1 && !slices.Contains(tokens, "") && !strings.ContainsAny(subject, " \t\r\n")
}

// consumed groups what a user consumes by publisher.
func consumed(u User) map[string][]string {
	groups := make(map[string][]string)
	for _, subject := range u.Consumes {
		groups[publisher(subject)] = append(groups[publisher(subject)], subject)
	}
	return groups
}

// serverUsers are the users as the server wants them. Each may publish its
// own events, and of JetStream's API only what its own consumers need.
func (b *Broker) serverUsers(users []User) []*server.User {
	list := []*server.User{{Username: adminUser, Password: b.admin}}
	for _, u := range users {
		publish := append([]string{"$JS.API.INFO"}, u.Publishes...)
		for stream := range consumed(u) {
			on := stream + "." + u.Name
			publish = append(publish,
				"$JS.API.CONSUMER.INFO."+on, "$JS.API.CONSUMER.MSG.NEXT."+on,
				"$JS.ACK."+on+".>", "$JS.ACK.*.*."+on+".>") // the second form has domain and account in front
		}
		slices.Sort(publish)
		subscribe := []string{"_INBOX.>"}
		if u.Outside {
			subscribe = append(subscribe, u.Publishes...)
		}
		list = append(list, &server.User{Username: u.Name, Password: u.Password, Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: publish},
			Subscribe: &server.SubjectPermission{Allow: subscribe},
		}})
	}
	return list
}

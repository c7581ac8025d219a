package connectgen_test

import (
	"bytes"
	"os/exec"
	"testing"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/ebef7166/mesh/scaffold/internal/connectgen"
)

// request is a contract with every kind of method, comments and options.
func request(parameter string) *pluginpb.CodeGeneratorRequest {
	method := func(name string, client, server bool, options *descriptorpb.MethodOptions) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{
			Name: proto.String(name), InputType: proto.String(".google.protobuf.Empty"), OutputType: proto.String(".a.v1.B"),
			ClientStreaming: proto.Bool(client), ServerStreaming: proto.Bool(server), Options: options,
		}
	}
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("a/v1/a.proto"), Package: proto.String("a.v1"), Syntax: proto.String("proto3"),
		Dependency:  []string{"google/protobuf/empty.proto"},
		Options:     &descriptorpb.FileOptions{GoPackage: proto.String("example.com/a/v1;av1")},
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("B")}},
		Service: []*descriptorpb.ServiceDescriptorProto{
			{Name: proto.String("AService"), Method: []*descriptorpb.MethodDescriptorProto{
				method("Unary", false, false, nil),
				method("Old", false, false, &descriptorpb.MethodOptions{Deprecated: proto.Bool(true)}),
				method("Pure", false, false, &descriptorpb.MethodOptions{IdempotencyLevel: descriptorpb.MethodOptions_NO_SIDE_EFFECTS.Enum()}),
				method("Up", true, false, nil), method("Down", false, true, nil), method("Both", true, true, nil),
			}},
			{Name: proto.String("Empty"), Options: &descriptorpb.ServiceOptions{Deprecated: proto.Bool(true)}},
		},
		SourceCodeInfo: &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{
			{Path: []int32{12}, Span: []int32{0, 0, 1}, LeadingComments: proto.String(" Licence.\n")},
			{Path: []int32{6, 0}, Span: []int32{2, 0, 1}, LeadingComments: proto.String(" AService does things.\n")},
			{Path: []int32{6, 0, 2, 0}, Span: []int32{3, 0, 1}, LeadingComments: proto.String(" Unary does one.\n")},
		}},
	}
	return &pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{"a/v1/a.proto"}, Parameter: proto.String(parameter),
		ProtoFile: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(emptypb.File_google_protobuf_empty_proto), file},
	}
}

// TestSameAsUpstream compares the copy with the program it was copied from.
func TestSameAsUpstream(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the upstream plugin")
	}
	for parameters, simple := range map[string]bool{"paths=source_relative": false, "paths=source_relative,simple": true} {
		in, err := proto.Marshal(request(parameters))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("go", "run", "connectrpc.com/connect/cmd/protoc-gen-connect-go")
		cmd.Stdin = bytes.NewReader(in)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var want pluginpb.CodeGeneratorResponse
		if err := proto.Unmarshal(out, &want); err != nil || want.Error != nil {
			t.Fatal(err, want.GetError())
		}
		plugin, err := protogen.Options{}.New(request("paths=source_relative"))
		if err != nil {
			t.Fatal(err)
		}
		connectgen.Generate(plugin, plugin.FilesByPath["a/v1/a.proto"], "connect", simple)
		got := plugin.Response()
		if len(got.GetFile()) != 1 || len(want.GetFile()) != 1 {
			t.Fatalf("%d files, upstream %d", len(got.GetFile()), len(want.GetFile()))
		}
		if g, w := got.GetFile()[0], want.GetFile()[0]; g.GetName() != w.GetName() || g.GetContent() != w.GetContent() {
			t.Errorf("%s: the copy is not what upstream writes:\n%s\n--- upstream\n%s", parameters, g.GetContent(), w.GetContent())
		}
	}
}

// Copyright 2021-2026 The Connect Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//      http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

// Changed from upstream's: the package comment tells how.

package connectgen

import (
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/types/descriptorpb"
)

// generateMethodOptions writes the options that the client and the handler of a
// method are both made with.
func generateMethodOptions(g *protogen.GeneratedFile, method *protogen.Method) {
	g.P(connectPackage.Ident("WithSchema"), "(", procedureVarMethodDescriptor(method), "),")
	if level := methodIdempotency(method); level != "" {
		g.P(connectPackage.Ident("WithIdempotency"), "(", connectPackage.Ident(level), "),")
	}
}

// methodIdempotency names connect's constant for what the contract promises of
// method, or is empty where it promises nothing.
func methodIdempotency(method *protogen.Method) string {
	methodOptions, _ := method.Desc.Options().(*descriptorpb.MethodOptions)
	switch methodOptions.GetIdempotencyLevel() {
	case descriptorpb.MethodOptions_NO_SIDE_EFFECTS:
		return "IdempotencyNoSideEffects"
	case descriptorpb.MethodOptions_IDEMPOTENT:
		return "IdempotencyIdempotent"
	default:
		return ""
	}
}

func isDeprecatedService(service *protogen.Service) bool {
	serviceOptions, _ := service.Desc.Options().(*descriptorpb.ServiceOptions)
	return serviceOptions.GetDeprecated()
}

func isDeprecatedMethod(method *protogen.Method) bool {
	methodOptions, _ := method.Desc.Options().(*descriptorpb.MethodOptions)
	return methodOptions.GetDeprecated()
}

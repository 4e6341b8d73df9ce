# What one does with this project, one command each. `make` alone lists them.
#
# Nothing here needs an AWS account or Docker. Python tools are installed, pinned, into
# target/tools, and nowhere else.

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help

# Python 3.11 or newer.
PYTHON ?= python3

# Instruction set to build the function for: x86_64 or arm64. SAM hands no architecture
# on to this file, so for arm64 it comes from the environment, beside the parameter of
# the template:  ARCH=arm64 sam build
ARCH ?= x86_64

TOOLS := target/tools

# `make run FILE=… FULL=1` reaches the script as it was typed.
export FILE FULL

# SAM must neither report home nor read anyone's AWS settings to check a template.
CHECK_TEMPLATE := env -u AWS_PROFILE -u AWS_DEFAULT_PROFILE SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 \
	AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null

##@ Try it
.PHONY: run
run: ## the whole product on this machine: a log file in, the alerts out (FILE=…, FULL=1)
	@exec $(PYTHON) scripts/run.py

##@ Check it
.PHONY: test
test: tools-moto tools-sam ## every test, then the template's checks
	INSTA_UPDATE=no cargo test --locked
	@$(MAKE) --no-print-directory lint-template

.PHONY: lint
lint: ## formatting and clippy
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

.PHONY: lint-template
lint-template: tools-sam ## template.yaml, by SAM and by cfn-lint
	$(CHECK_TEMPLATE) $(TOOLS)/sam/bin/sam validate --lint --template template.yaml
	$(TOOLS)/sam/bin/cfn-lint --include-checks I -- template.yaml

.PHONY: rules-page
rules-page: ## docs/rules.md, from the rule files
	cargo run --quiet --locked -- rules document > docs/rules.md

.PHONY: operations
operations: tools-moto ## what `rules check` knows of AWS's APIs, from the service models in tools/moto.txt
	$(TOOLS)/moto/bin/python scripts/aws_operations.py > src/rules/check/aws.json

.PHONY: doc
doc: ## the crate's documentation, without warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --locked

##@ Build it
.PHONY: build
build: ## both programs, optimized, for this machine
	cargo build --release --locked

.PHONY: build-CloudHsmAlertsFunction
build-CloudHsmAlertsFunction: ## what `sam build` calls: the function into ARTIFACTS_DIR (ARCH=arm64)
	@: "$${ARTIFACTS_DIR:?is the folder for the built function; sam build sets it}"; \
	case "$(ARCH)" in \
	x86_64) triple=x86_64-unknown-linux-gnu ;; \
	arm64 | aarch64) triple=aarch64-unknown-linux-gnu ;; \
	*) echo "make: ARCH is x86_64 or arm64, not '$(ARCH)'" >&2; exit 2 ;; \
	esac; \
	host=$$(rustc -vV | sed -n 's/^host: //p'); \
	out=$${CARGO_TARGET_DIR:-target}; \
	if [ "$$triple" = "$$host" ]; then \
		set --; \
	else \
		if [ ! -d "$$(rustc --print target-libdir --target "$$triple")" ]; then \
			echo "make: building for $(ARCH) needs Rust's standard library for $$triple, which is not" >&2; \
			echo "make: installed here: rustup target add $$triple (and a C compiler and linker for it)" >&2; \
			exit 2; \
		fi; \
		set -- --target "$$triple"; \
		out=$$out/$$triple; \
	fi; \
	cargo build --release --locked --bin bootstrap "$$@"; \
	program=$$out/release/bootstrap; \
	if command -v objdump >/dev/null; then \
		newest=$$(objdump -T "$$program" 2>/dev/null | grep -oE 'GLIBC_[0-9.]+' | sort -Vu | tail -n 1 || true); \
		if [ "$$(printf '%s\n' "$${newest:-GLIBC_0}" GLIBC_2.34 | sort -V | tail -n 1)" != GLIBC_2.34 ]; then \
			echo "make: the function needs $$newest, and Amazon Linux 2023 has GLIBC_2.34: it would not start." >&2; \
			echo "make: build it on a system with an older C library, such as Amazon Linux 2023 itself." >&2; \
			exit 2; \
		fi; \
	fi; \
	mkdir -p "$$ARTIFACTS_DIR"; \
	cp "$$program" "$$ARTIFACTS_DIR/bootstrap"

##@ Tools
.PHONY: tools tools-moto tools-sam tools-ministack
tools: tools-moto tools-sam tools-ministack ## all three of them
tools-moto: ## moto: S3, SNS and SQS for the tests
tools-sam: ## SAM, cfn-lint, and the Runtime Interface Emulator for the tests
tools-ministack: ## MiniStack: the emulator behind `make run`
tools-moto tools-sam tools-ministack: tools-%:
	@$(PYTHON) scripts/tools.py $*

.PHONY: clean
clean: ## remove everything built or installed here
	cargo clean
	rm -rf target .aws-sam

.PHONY: help
help:
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[A-Za-z-]+:.*## / { printf "  make %-30s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

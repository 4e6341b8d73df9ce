# What one does with this project, one command each. `make` alone lists them.
#
# Nothing here needs an AWS account, and only `make test-sam` needs Docker. Python tools are
# installed, pinned, into target/tools, and nowhere else.

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

# How the function is built where it is built for SAM: release, as it is deployed, or dev, as
# the tests build it, which takes seconds. A name of this project's own: what other programs'
# settings leave in an environment must not decide what is deployed.
FUNCTION_PROFILE ?= release

TOOLS := target/tools

# `make run FILE=… FULL=1` and `make test-sam EVENT=…` reach the scripts as they were typed. FUNCTION_PROGRAM is a
# function that is built already: for itself, cargo builds it with fewer features of its crates than for the tests.
export FILE FULL EVENT FUNCTION_PROGRAM

# CLI_PROGRAM is a command line that is built already. Without it, it is built when it is needed first.
CLI_PROGRAM ?=
CLI = $(or $(CLI_PROGRAM),$${CARGO_TARGET_DIR:-target}/debug/cloudhsm-alerts)

# SAM must neither report home nor read anyone's AWS settings to check a template.
CHECK_TEMPLATE := env -u AWS_PROFILE -u AWS_DEFAULT_PROFILE SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 \
	AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null

##@ Try it
.PHONY: run
run: tools-ministack ## the whole product on this machine: a log file in; alerts, a reminder, a report and an audit out (FILE=…, FULL=1)
	@$(TOOLS)/ministack/bin/python -B scripts/run.py
	@[ "$(REPORT)" = 0 ] || { $(MAKE) --no-print-directory built-command-line && \
		"$(CLI)" report "$${FILE:-target/log-file.json}" --output target/report.html && \
		if command -v openssl >/dev/null; then \
			echo "run: an audit of three hours with digest files, of which one log file was altered:" >&2; \
			$(PYTHON) -B scripts/run_audit.py "$(CLI)"; \
		else echo "run: openssl is not installed, so no audit is shown" >&2; fi; }

.PHONY: built-command-line
built-command-line:
	@[ -n "$(CLI_PROGRAM)" ] || { echo "building the command line for the report (once; REPORT=0 leaves it out) ..." >&2; \
		cargo build --quiet --locked -p cloudhsm-alerts-cli; }

##@ Check it
.PHONY: test
test: tools-moto tools-sam tools-awscli ## every test, then the template's checks
	INSTA_UPDATE=no cargo test --workspace --locked
	@$(MAKE) --no-print-directory test-package lint-template test-template FUNCTION_PROGRAM=$${CARGO_TARGET_DIR:-target}/debug/bootstrap

.PHONY: test-package
test-package: tools-moto tools-sam ## what a release is made of: the archives, and the templates that name them
	$(TOOLS)/sam/bin/python -B scripts/test_package.py

.PHONY: test-template
test-template: tools-ministack ## the template: expanded for every combination, and deployed into an emulator
	$(TOOLS)/ministack/bin/python -B tests/template/test_expanded.py
	$(TOOLS)/ministack/bin/python -B tests/template/test_deployed.py

# Node and Chromium are Debian's; the rest is pinned, and runs from a folder that is not the tree's.
.PHONY: test-report screenshot
test-report: tools-report built-command-line ## the report in headless Chromium: no request, no error, keyboard, valid HTML
	@program=$$(realpath "$(CLI)"); cd $(TOOLS)/report; CLI=$$program exec node --test --test-reporter=spec page.test.mjs
screenshot: tools-report built-command-line ## docs/report.png, from an invented incident
	@program=$$(realpath "$(CLI)"); cd $(TOOLS)/report; CLI=$$program exec node screenshot.mjs $(CURDIR)/docs/report.png

.PHONY: test-sam
test-sam: tools-moto tools-sam ## sam build, sam local invoke and start-lambda for all of events/, in Docker (FUNCTION_PROFILE=release, EVENT=…)
	@FUNCTION_PROFILE=$(if $(filter command environment,$(firstword $(origin FUNCTION_PROFILE))),$(FUNCTION_PROFILE),dev) exec $(TOOLS)/moto/bin/python -B scripts/sam_local.py

.PHONY: lint
lint: tools-ruff ## formatting, clippy, ruff
	$(TOOLS)/ruff/bin/ruff format --check
	$(TOOLS)/ruff/bin/ruff check
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

CHECKOV := $(TOOLS)/checkov/bin/checkov --framework cloudformation --skip-download --compact --quiet
PARLIAMENT := $(TOOLS)/parliament/bin/parliament --directory target/expanded/policies

# The regions: one of each partition, because not every one knows every type of resource.
# Linters pass over what a condition leaves out, and so are given the stacks that users choose, too.
.PHONY: lint-template
lint-template: tools-sam tools-checkov tools-ministack tools-parliament ## the templates, by SAM, cfn-lint, checkov and parliament
	for template in template.yaml guard.yaml backfill.yaml chat.yaml; do \
		$(CHECK_TEMPLATE) $(TOOLS)/sam/bin/sam validate --lint --template "$$template"; \
		$(CHECKOV) --file "$$template"; \
	done
	$(TOOLS)/sam/bin/cfn-lint --include-checks I --regions us-east-1 cn-north-1 us-gov-west-1 -- template.yaml guard.yaml backfill.yaml
	$(TOOLS)/sam/bin/cfn-lint --include-checks I --regions us-east-1 -- chat.yaml
	rm -rf target/expanded
	$(TOOLS)/ministack/bin/python -B tests/template/write_expanded.py target/expanded
	$(TOOLS)/sam/bin/cfn-lint -- target/expanded/*.json
	$(CHECKOV) --directory target/expanded
	$(PARLIAMENT) --exclude_pattern '.*Key-'
	$(PARLIAMENT) --exclude_pattern '(?!.*Key-)' --config tests/template/parliament.yaml

.PHONY: rules-page
rules-page: ## docs/rules.md, from the rule files
	cargo run --quiet --locked -p cloudhsm-alerts-cli -- rules document > docs/rules.md

.PHONY: operations
operations: tools-moto ## what `rules check` and the test of commands know of AWS's APIs, from the models in tools/moto.txt
	$(TOOLS)/moto/bin/python -B scripts/aws_operations.py

.PHONY: doc
doc: ## the crate's documentation, without warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked

##@ Measure it
.PHONY: bench
bench: build ## stages beside inflating alone, many files, allocations, instructions; the function under Lambda's quotas
	cargo bench --locked --target-dir target/benches --bench ratio
	cargo bench --locked --target-dir target/benches --bench scan -- "$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/cloudhsm-alerts"
	cargo bench --locked --target-dir target/benches --bench stages
	@$(PYTHON) -B scripts/instructions.py || true
	cargo bench --locked --target-dir target/benches --bench function -- "$${CARGO_TARGET_DIR:-target}/release/bootstrap"

.PHONY: bench-compare
bench-compare: build tools-bench ## other readers of CloudTrail files beside this one, and what they do not do (ROUNDS=15)
	@exec $(PYTHON) -B scripts/bench_compare.py --rounds "$(or $(ROUNDS),7)"

.PHONY: size
size: build-function ## how large the function is, and whether that is too much
	@exec $(PYTHON) -B scripts/size.py

.PHONY: tools-rsigma
tools-rsigma: ## the rsigma command line, for bench-compare: compiles for some minutes
	cargo install --locked --version 0.23.0 --root $(TOOLS)/rsigma rsigma

##@ Build it
.PHONY: build build-function
build: build-function ## both programs, optimized, for this machine
	cargo build --release --locked -p cloudhsm-alerts-cli

build-function: ## the function, optimized, for this machine
	cargo build --release --locked -p cloudhsm-alerts --bin bootstrap

# What `sam build` calls: ARTIFACTS_DIR is SAM's. The chat function is the same program.
.PHONY: build-CloudHsmAlertsFunction build-ChatFunction build-command-line
build-CloudHsmAlertsFunction build-ChatFunction: ## what `sam build` calls: the function into ARTIFACTS_DIR (ARCH=arm64)
build-command-line: ## the command line into ARTIFACTS_DIR, for machines with an older C library, too (ARCH=arm64)
build-CloudHsmAlertsFunction build-ChatFunction: PROGRAM := bootstrap
build-CloudHsmAlertsFunction build-ChatFunction: PACKAGE := cloudhsm-alerts
build-command-line: PROGRAM := cloudhsm-alerts
build-command-line: PACKAGE := cloudhsm-alerts-cli
build-CloudHsmAlertsFunction build-ChatFunction build-command-line:
	@: "$${ARTIFACTS_DIR:?is the folder for the built program; sam build sets it}"; \
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
			echo "make: installed here: rustup target add $$triple (and a C compiler and linker for it)." >&2; \
			echo "make: Or build for this machine: ARCH=$$(case $$host in aarch64*) echo arm64 ;; *) echo x86_64 ;; esac)," >&2; \
			echo "make: and deploy with the same Architecture." >&2; \
			exit 2; \
		fi; \
		set -- --target "$$triple"; \
		out=$$out/$$triple; \
	fi; \
	case "$(FUNCTION_PROFILE)" in \
	release) cargo build --release --locked -p $(PACKAGE) --bin $(PROGRAM) "$$@"; program=$$out/release/$(PROGRAM) ;; \
	dev) cargo build --locked -p $(PACKAGE) --bin $(PROGRAM) "$$@"; program=$$out/debug/$(PROGRAM) ;; \
	*) echo "make: FUNCTION_PROFILE is release or dev, not '$(FUNCTION_PROFILE)'" >&2; exit 2 ;; \
	esac; \
	if ! command -v readelf >/dev/null; then \
		echo "make: readelf is not installed (it is in the package binutils): it shows whether the program" >&2; \
		echo "make: starts with Amazon Linux 2023's C library." >&2; \
		exit 2; \
	fi; \
	newest=$$(LC_ALL=C readelf -V "$$program" | grep -oE 'GLIBC_[0-9.]+' | sort -Vu | tail -n 1 || true); \
	if [ -z "$$newest" ]; then \
		echo "make: readelf finds no version of the C library in $$program, which every program" >&2; \
		echo "make: for $$triple asks for: whether it would start on Amazon Linux 2023 is not known." >&2; \
		exit 2; \
	fi; \
	if [ "$$(printf '%s\n' "$$newest" GLIBC_2.34 | sort -V | tail -n 1)" != GLIBC_2.34 ]; then \
		echo "make: $(PROGRAM) needs $$newest, and Amazon Linux 2023 has GLIBC_2.34: it would not start." >&2; \
		echo "make: build it on a system with an older C library, such as Amazon Linux 2023 itself." >&2; \
		exit 2; \
	fi; \
	mkdir -p "$$ARTIFACTS_DIR"; \
	cp "$$program" "$$ARTIFACTS_DIR/$(PROGRAM)"; \
	echo "make: $(PROGRAM) for $(ARCH), $$(wc -c < "$$ARTIFACTS_DIR/$(PROGRAM)") bytes" >&2

# Where a package was built must not be in it: its folders get fixed names, in what rustc writes
# and in what the C compiler does. Of several that match, rustc takes the last.
PACKAGE_FOLDERS = $${CARGO_HOME:-$$HOME/.cargo}=/cargo $(CURDIR)=/src $${CARGO_TARGET_DIR:-$(CURDIR)/target}=/target

# The same bytes for the same source, wherever and whenever it is packed: with the same Rust, the same
# C compiler and linker, and the same zlib in Python. Always optimized, whatever FUNCTION_PROFILE says.
.PHONY: package package-command-line package-templates
package: PACKED := function build-CloudHsmAlertsFunction bootstrap
package: ## the function as a zip, with its size and checksum (ARCH=arm64), under target/package
package-command-line: PACKED := command-line build-command-line cloudhsm-alerts
package-command-line: ## the command line as a tar, likewise
package package-command-line:
	@set -- $(PACKED); \
	folder=target/package/$(ARCH); \
	rm -rf "$$folder"; \
	for mapped in $(PACKAGE_FOLDERS); do \
		RUSTFLAGS="$${RUSTFLAGS:-} --remap-path-prefix=$$mapped"; \
		CFLAGS="$${CFLAGS:-} -ffile-prefix-map=$$mapped"; \
	done; \
	export RUSTFLAGS CFLAGS; \
	ARTIFACTS_DIR=$$folder $(MAKE) --no-print-directory "$$2" FUNCTION_PROFILE=release; \
	exec $(PYTHON) -B scripts/package.py "$$1" "$(ARCH)" "$$folder/$$3"
package-templates: ## the templates: those with a function deploy the zip of `make package` (ARCH=arm64)
	@exec $(PYTHON) -B scripts/package.py templates "$(ARCH)"

.PHONY: completions
completions: ## shell completions and manual pages of the command line, under target/package/completions (COMMAND_LINE=a program that is built)
	@program="$(or $(COMMAND_LINE),cargo run --quiet --locked -p cloudhsm-alerts-cli --)"; \
	folder=target/package/completions; \
	rm -rf "$$folder"; \
	mkdir -p "$$folder"; \
	for shell in bash zsh fish elvish powershell; do \
		$$program completions "$$shell" > "$$folder/cloudhsm-alerts.$$shell"; \
	done; \
	$$program completions --man "$$folder"; \
	ls "$$folder"

##@ Tools
.PHONY: tools tools-report tools-moto tools-awscli tools-sam tools-ministack tools-checkov tools-parliament tools-ruff tools-bench
tools: tools-moto tools-awscli tools-sam tools-ministack tools-checkov tools-parliament tools-ruff ## all of them but the next
tools-bench: ## other readers in Python, for bench-compare
tools-report: ## Playwright and html-validate, for the report
	@for program in node npm chromium; do command -v "$$program" >/dev/null || { \
		echo "make: $$program is not installed: apt-get install nodejs npm chromium" >&2; exit 2; }; done; \
	mkdir -p $(TOOLS)/report; \
	cp tests/report/* $(TOOLS)/report/; \
	cd $(TOOLS)/report; \
	cmp -s package-lock.json installed.json || { npm ci --silent --ignore-scripts --no-audit --no-fund; cp package-lock.json installed.json; }
tools-moto: ## moto: S3, SNS and SQS for the tests
tools-awscli: ## the AWS CLI: its validate-logs, beside `audit`
tools-sam: ## SAM, cfn-lint, and the Runtime Interface Emulator for the tests
tools-ministack: ## MiniStack: the emulator behind `make run`
tools-checkov: ## checkov: the template as a security reviewer reads it
tools-parliament: ## parliament: the IAM policies of the templates
tools-ruff: ## ruff: checks and formats the Python files
tools-moto tools-awscli tools-sam tools-ministack tools-checkov tools-parliament tools-ruff tools-bench: tools-%:
	@$(PYTHON) -B scripts/tools.py $*

.PHONY: clean
clean: ## remove everything built or installed here
	cargo clean
	rm -rf target .aws-sam

.PHONY: help
help:
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[A-Za-z-]+:.*## / { printf "  make %-30s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

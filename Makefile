# pose_topo: every step of the study as a file. `make` alone prints help.
#
# The graph: data -> run (checkpoint) -> evaluation.json, analysis.json -> group.json -> figures, tables -> claims, report.
# `demo`, `quick`, `synthetic` and `all` are the same graph; they differ only in the variables below.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# ---- what to run (override on the command line: make all ARCHS=resnet18 SEEDS="0 1") ----
PYTHON   ?= python3
TORCH    ?= lock#            lock: as locked; cpu: the CPU wheels of PyTorch's own index
DATA     ?= mpii#            folder of the data set
PROTOCOL ?= standard#        standard, paper, synthetic or demo
ARCHS    ?= resnet18 resnet34 resnet50
ARMS     ?= baseline control topo
SEEDS    ?= 0 1 2 3 4 5
EPOCHS   ?=#                 default: the protocol's
DEVICE   ?= auto
BENCH    ?=#                 further options of the benchmark, e.g. --protocol standard
TRAIN    ?=#                 further options of the training commands
OUT      ?= out#             everything derived
RUNS     ?= runs#            checkpoints
CACHE    ?=#                 crops and ImageNet weights [~/.cache/pose_topo]
VENV     ?= .venv#           the environment; any other than .venv is taken as it is (the image has its own)
CHECKPOINTS ?=#              figures: the folder of given runs, laid out as RUNS; their results go to OUT/given
RESULTS  ?=#                 figures: "reference" draws the committed reference results

# what stands beside the main arms, on one backbone with fewer seeds; none of it outside `standard` unless asked for
LAMBDAS     ?= 0 0.005 0.05 0.5 5
LOSSES      ?= neighbour-cosine topoloss activation-similarity spatial-correlation topographic
FACTORS     ?= 1 10#         multipliers of the topographic layer's learning rate
SWEEP_ARCHS ?= $(if $(filter standard,$(strip $(PROTOCOL))),resnet18)
SWEEP_SEEDS ?= 0 1 2
PAPER_ARCHS ?= $(if $(filter standard,$(strip $(PROTOCOL))),resnet18)#  trained by the study's own recipe, too
LESION_ARMS ?= $(ARMS) topo-permuted#  whose grids are also cut, and held against their start: more passes over the people
# their values are not on one scale: each loss has its own three lambdas (docs/regularizers.md)
LAMBDAS_neighbour-cosine      := 0.05 0.5 5
LAMBDAS_topoloss              := 0.05 0.5 5
LAMBDAS_activation-similarity := 0.005 0.05 0.5
LAMBDAS_spatial-correlation   := 0.05 0.5 5
LAMBDAS_topographic           := 0.05 0.5 5

# ---- the demo and its kin; what is given on the command line stands ----
DEMO_PEOPLE ?= 2400
DEMO_DATA   := data/synthetic-$(strip $(DEMO_PEOPLE))
given = $(if $(filter command%,$(origin $1)),,$1="$2")
DEMO := DATA=$(DEMO_DATA) PROTOCOL=demo $(call given,ARCHS,resnet18) $(call given,SEEDS,0)
RENDERED := DATA=data/synthetic-6000 PROTOCOL=synthetic $(call given,ARCHS,resnet18)
QUICK := ARCHS=resnet18 $(call given,SEEDS,0 1 2) SWEEP_ARCHS= PAPER_ARCHS=

include docker/container.mk
ifneq ($(DOCKER),1)#         else the target is made in the image

# comments after a value leave blanks behind it
$(foreach v,TORCH DATA PROTOCOL ARCHS ARMS SEEDS EPOCHS DEVICE TRAIN OUT RUNS CACHE VENV CHECKPOINTS RESULTS LAMBDAS LOSSES \
    FACTORS SWEEP_ARCHS SWEEP_SEEDS PAPER_ARCHS LESION_ARMS,$(eval override $v := $(strip $($v))))
$(foreach v,DATA OUT RUNS CACHE CHECKPOINTS,$(if $(word 2,$($v)),$(error $v: a path without blanks, not "$($v)")))
override DATA := $(patsubst %/,%,$(DATA))
NAME := $(notdir $(DATA))
ifneq ($(CHECKPOINTS),)
override RUNS := $(CHECKPOINTS)
override OUT := $(OUT)/given
endif
ifneq ($(CACHE),)
export POSE_TOPO_CACHE := $(if $(filter /%,$(CACHE)),$(CACHE),$(CURDIR)/$(CACHE))
endif

BIN   := $(VENV)/bin
CLI   := $(BIN)/pose-topo
READY := $(if $(filter .venv,$(VENV)),.venv/.ready)
PAPER := $(BIN)/python -m paper_figures

# ---- the runs of the study: <variant>/<arch>/<arm>-s<seed>; every setting that changes a result is part of the path ----
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
SET     := $(if $(EPOCHS),-e$(EPOCHS))$(subst /,_,$(subst =,,$(subst $(SPACE),,$(TRAIN))))
VARIANT := $(PROTOCOL)$(SET)
# an arm is named as pose_topo/study/protocols.py names it; here is how it is trained
ARM_baseline      := train-baseline
ARM_control       := train-topo --spatial-lambda 0
ARM_topo          := train-topo
ARM_topo-permuted := train-topo --topo-permuted
lambda_arm = $(foreach f,$1,$(patsubst $f-l%,train-topo $(if $(filter-out topo,$f),--topo-loss $f )--spatial-lambda %,$(filter $f-l%,$2)))
factor_arm = $(patsubst topo-m%,train-topo --topo-lr-mult %,$(filter topo-m%,$1))
arm = $(or $(ARM_$1),$(strip $(call lambda_arm,topo $(LOSSES),$1)),$(call factor_arm,$1),$(error ARMS: no arm $1))

# lambda 0 is the control, 0.5 topo; so is the multiplier that the protocol has
OWN_FACTOR := $(if $(filter demo,$(PROTOCOL)),10,1)
SWEEP := control topo topo-permuted \
    $(patsubst %,topo-l%,$(filter-out 0 0.5,$(LAMBDAS))) \
    $(patsubst %,topo-m%,$(filter-out $(OWN_FACTOR),$(FACTORS))) \
    $(foreach f,$(LOSSES),$(patsubst %,$f-l%,$(LAMBDAS_$f)))
cells  = $(foreach a,$2,$(foreach m,$3,$(foreach s,$4,$1/$a/$m-s$s)))
CELLS := $(call cells,$(VARIANT),$(ARCHS),$(ARMS),$(SEEDS)) $(call cells,$(VARIANT),$(SWEEP_ARCHS),$(SWEEP),$(SWEEP_SEEDS)) \
    $(if $(filter paper,$(PROTOCOL)),,$(call cells,paper$(SET),$(PAPER_ARCHS),$(ARMS),$(SEEDS)))
ifneq ($(filter figures,$(MAKECMDGOALS)),)
MAKEFLAGS := $(MAKEFLAGS) $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))# drawing: a process a core
endif
ifneq ($(filter figures check,$(MAKECMDGOALS)),)
# these never train: they take the finished runs that are there
CELLS := $(patsubst $(RUNS)/$(NAME)/%/provenance.json,%,$(wildcard $(RUNS)/$(NAME)/*/*/*/provenance.json))
endif
CELLS := $(sort $(CELLS))

# of a cell: its folders and its words
result    = $(OUT)/$(NAME)/$1
run       = $(RUNS)/$(NAME)/$1
words_of  = $(subst /, ,$1)
variant_of = $(word 1,$(call words_of,$1))
arch_of   = $(word 2,$(call words_of,$1))
seed_of   = $(lastword $(subst -s, ,$(call words_of,$1)))
arm_of    = $(patsubst %-s$(call seed_of,$1),%,$(word 3,$(call words_of,$1)))
protocol_of = $(firstword $(subst -, ,$(call variant_of,$1)))
# a part of the study: the cells of one variant and backbone, which figures show together
PARTS    := $(sort $(foreach c,$(CELLS),$(call variant_of,$c)/$(call arch_of,$c)))
in_part   = $(filter $1/%,$(CELLS))
results_of = $(foreach c,$(call in_part,$1),$(call result,$c))
files_of  = $(foreach r,$1,$r/evaluation.json $r/analysis.json)

# every script of paper_figures/ writes <name>.caption.md last; what its results do not hold, that says
FIGURES := schematic training_curves parcellation strength_maps neighbour_correlation moran correlation_distance \
    coactivation tradeoff lesions overlays
TABLES  := table_pckh table_metrics table_topography table_losses
DRAWN   := $(FIGURES:%=%.caption.md) $(TABLES:%=%.caption.md)
# what all figures are drawn with; what claims are judged with; what the report is made with
LIBRARY := $(wildcard paper_figures/lib/*.py paper_figures/figures/*.py paper_figures/tables/*.py)
JUDGING := $(wildcard paper_figures/claims/*)
LAYOUT  := $(wildcard paper_figures/report/*)
# newer code evaluates and analyzes again; it never trains again
EVALUATION := $(foreach f,core study data scoring models,$(wildcard pose_topo/$f/*)) $(patsubst %,pose_topo/stages/%.py,checkpoints evaluate)
ANALYSIS   := $(EVALUATION) $(wildcard pose_topo/topography/*.py) $(patsubst %,pose_topo/stages/%.py,analyze silencing)

TRAIN_TIME := $(if $(filter demo,$(VARIANT)),4 minutes on 2 cores that have bf16 and 8 on others,the bar says how long)
# one training at a time, also under -j: two on one device only slow each other
ALONE := flock $(RUNS)/.lock

.PHONY: help setup download demo quick synthetic all plan figures check test bench lint clean lock FORCE

help: ## print this help
	@echo "pose_topo: make TARGET [VARIABLE=value ...]"; echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'
	@echo; echo "Variables: DATA PROTOCOL ARCHS ARMS SEEDS EPOCHS LAMBDAS LOSSES DEVICE TRAIN OUT RUNS CACHE ... (see the top of the Makefile)"

# ---- set-up ----
setup: $(READY) ## make .venv from requirements.lock (TORCH=cpu: PyTorch's CPU wheels)

.venv/.ready: requirements.lock pyproject.toml
	@echo "== set-up: .venv from requirements.lock (about 2 minutes, 5 GB on Linux: torch is the CUDA build)"
	@bash tools/setup.sh $(PYTHON) $(TORCH)
	@touch $@

lock: ## make requirements.lock anew from pyproject.toml
	bash tools/lock.sh $(PYTHON)

# ---- the doors ----
download: $(READY) ## MPII into DATA and ImageNet weights into CACHE, verified; goes on where it stopped
	@$(CLI) download mpii --data $(DATA)
	@for arch in $(ARCHS); do $(CLI) download weights --arch $$arch; done

demo: $(READY) ## the whole chain on rendered people, on a CPU, in a quarter of an hour
	@$(MAKE) --no-print-directory $(DEMO) all

quick: $(READY) ## the least part of `all` that settles the main claim: resnet18, three arms, three seeds
	@$(MAKE) --no-print-directory $(QUICK) all

synthetic: $(READY) ## the standard recipe on 6,000 rendered people (a GPU; needs no MPII)
	@$(MAKE) --no-print-directory $(RENDERED) all

all: $(OUT)/$(NAME)/report.html ## the study: train, evaluate, analyze, draw, judge, report
	@bash tools/older_checkpoints.sh $(RUNS)/$(NAME)
	@echo "== done: $< (claims: $(OUT)/$(NAME)/claims.md)"

plan: $(READY) ## how many runs `make all` means, and their hours, disk and memory
	@$(BIN)/python tools/plan.py $(DATA) $(CELLS)

# ---- data ----
data/synthetic-%/manifest.json: | $(READY)
	@echo "== data: rendering $* people (about 10 s a thousand on 2 cores)"
	@$(CLI) download synthetic --data $(@D) --people $* --seed 0

# ---- runs. provenance.json is written last: who finds it has a whole run. It depends on nothing, so newer code never
# retrains; an interrupted run goes on where it stopped.
define cell_rules
$(call run,$1)/provenance.json: | $(READY) $(if $(filter data/synthetic-%,$(DATA)),$(DATA)/manifest.json)
	@echo "== train: $1 ($(NAME)): $(TRAIN_TIME)"
	@mkdir -p $(RUNS)
	@$(ALONE) $(CLI) $(call arm,$(call arm_of,$1)) --arch $(call arch_of,$1) --seed $(call seed_of,$1) --data $(DATA) \
	    --protocol $(call protocol_of,$1) --save-dir $(patsubst %/,%,$(dir $(call run,$1))) --run-name $(notdir $1) \
	    --device $(DEVICE) $(if $(EPOCHS),--epochs $(EPOCHS) )--no-wandb $(TRAIN)

$(call result,$1)/evaluation.json: $(call run,$1)/provenance.json $(EVALUATION)
	@echo "== evaluate: $1 (the demo: seconds)"
	@$(ALONE) $(CLI) evaluate $(call run,$1) --out $(call result,$1) --device $(DEVICE)

$(call result,$1)/analysis.json: $(call run,$1)/provenance.json $(ANALYSIS) $(call control_of,$1)
	@echo "== analyze: $1 (the demo: half a minute)"
	@$(ALONE) $(CLI) analyze $(call run,$1) --out $(call result,$1) --device $(DEVICE) \
	    $(if $(filter $(LESION_ARMS),$(call arm_of,$1)),--lesions --untrained) $(addprefix --control ,$(call control_of,$1))
endef
# the control of a cell's seed, where it is among the runs: I is also given as a share of its best
control_of = $(if $(filter baseline control,$(call arm_of,$1)),,$(patsubst %,$(OUT)/$(NAME)/%/analysis.json,\
    $(filter $(call variant_of,$1)/$(call arch_of,$1)/control-s$(call seed_of,$1),$(CELLS))))
ifeq ($(RESULTS),)
$(foreach c,$(CELLS),$(eval $(call cell_rules,$c)))
endif

# ---- paper: of a folder of results, its figures, its tables and, of several seeds, their comparison ----
listed = mkdir -p $(@D) && printf '%s\n' $1 >$@.new && if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
# $1 where it goes, $2 the results folders, $3 reference results that a table sets beside them
define paper_rules
# the results folders that are shown, one a line (a script takes them as --results @FILE): rewritten only when they change
$1/.runs: FORCE | $(READY)
	@$$(call listed,$2)

$(DRAWN:%=$1/%): $1/.runs $(LIBRARY) $(call files_of,$2 $3)

$(DRAWN:%=$1/%): $1/%.caption.md:
	@echo "== draw: $1/$$* (seconds)"
	@$(PAPER) $$* --results @$1/.runs --out $1 --if-there $(addprefix --reference ,$3)

$1/group/group.json: $1/.runs pose_topo/stages/group.py $(call files_of,$2)
	@echo "== group: $1 (seconds)"
	@$(CLI) analyze --group $$$$(cat $1/.runs) --out $$(@D)

$1/table_seeds.caption.md: $1/group/group.json $(LIBRARY)
	@echo "== draw: $1/table_seeds (seconds)"
	@$(PAPER) table_seeds --group $$< --out $1 --if-there
endef

# whether runs can be compared over seeds: a control and another arm with two seeds in common
seeds_of_arm = $(patsubst control-s%,%,$(filter control-s%,$(notdir $1)))
grouped = $(filter-out 0 1,$(words $(call seeds_of_arm,$1)))
paper_of = $(DRAWN:%=$1/%) $(if $(call grouped,$2),$1/table_seeds.caption.md)

# what the claims are held against
COMMITTED := $(wildcard paper_figures/reference/*/*/*.json)
# published predictions, once they were fetched and scored (docs/metrics.md)
PUBLISHED := $(wildcard $(OUT)/newell/evaluation.json)

# $1 where the report goes, $2 the folders of figures and tables, $3 the results folders, $4 what is drawn of them
define report_rules
$1/.runs: FORCE | $(READY)
	@$$(call listed,$3)

$1/claims.json: $1/.runs $(2:%=%/.runs) $(JUDGING) $(LIBRARY) $(call files_of,$3) $(PUBLISHED) $(COMMITTED)
	@echo "== claims: $1 (seconds)"
	@$(PAPER).claims.check --results $(2:%=@%/.runs) $(addprefix --predictions-evaluation ,$(PUBLISHED)) --out $1 --no-fail

$1/report.html: $1/claims.json $(LAYOUT) $4
	@echo "== report: $1/report.html (seconds)"
	@$(PAPER).report.page --claims $1/claims.json --papers $2 --results $(2:%=@%/.runs) --out $$@
endef

ifeq ($(RESULTS),reference)
HERE    := $(OUT)/reference
PAPERS  := $(patsubst paper_figures/reference/%/,$(HERE)/%,$(sort $(wildcard paper_figures/reference/*/)))
shown    = $(sort $(patsubst %/,%,$(dir $(wildcard paper_figures/reference/$(notdir $1)/*/analysis.json))))
beside   =
else
HERE    := $(OUT)/$(NAME)
PAPERS  := $(foreach p,$(PARTS),$(HERE)/$p/paper)
shown    = $(call results_of,$(patsubst $(HERE)/%/paper,%,$1))
# the demo's table also says what the study's own learning rate gives in the layer
beside   = $(if $(filter out/synthetic-2400/demo/resnet18/paper,$(1:$(HERE)/%=out/$(NAME)/%)),$(wildcard paper_figures/reference/demo/topo-m1-s*))
endif
ALL_RESULTS := $(foreach p,$(PAPERS),$(call shown,$p))
$(foreach p,$(PAPERS),$(eval $(call paper_rules,$p,$(call shown,$p),$(call beside,$p))))
$(eval $(call report_rules,$(HERE),$(PAPERS),$(ALL_RESULTS),$(foreach p,$(PAPERS),$(call paper_of,$p,$(call shown,$p)))))

figures: $(HERE)/report.html ## figures, tables and report of the runs that exist, without training (RESULTS=reference: of ours)
	@echo "== done: $<"

check: $(HERE)/claims.json ## the claims against the runs that exist; fails if one is contradicted
	@$(PAPER).claims.check --results $(PAPERS:%=@%/.runs) $(addprefix --predictions-evaluation ,$(PUBLISHED)) --out $(HERE)

ifneq ($(filter figures check,$(MAKECMDGOALS)),)
ifeq ($(ALL_RESULTS),)
$(error no finished run in $(RUNS)/$(NAME): `make all` trains them; for the demo's give $(DEMO))
endif
endif

# ---- the project itself ----
test: $(READY) ## the tests (a few minutes on 2 cores)
	$(BIN)/python -m pytest

bench: $(READY) $(DEMO_DATA)/manifest.json ## what decoding, crops, batches and steps cost on this machine
	$(BIN)/python -m pose_topo.bench --data $(DEMO_DATA) --device $(DEVICE) $(BENCH)

lint: $(READY) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean: ## remove everything derived (never checkpoints or data)
	$(if $(filter $(OUT)/%,$(RUNS) $(DATA)),$(error RUNS or DATA lies in OUT, which `clean` removes))
	rm -rf $(OUT)

endif

"""Checks a prompt before it is queued, with the error documents ComfyUI answers."""

import inspect
import logging
import sys
import traceback

from . import personality
from .node_classes import NODE_CLASS_MAPPINGS, input_info, is_output_node

CONVERTERS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
LONGEST_LISTED = 20


class Verdict:
    """error is None when at least one output can run; outputs are those, node_errors tell about the others."""

    def __init__(self, error, outputs, node_errors):
        self.error, self.outputs, self.node_errors = error, outputs, node_errors


def full_type_name(kind):
    return kind.__qualname__ if kind.__module__ == "builtins" else kind.__module__ + "." + kind.__qualname__


def problem(kind, message, details="", **extra):
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def no_prompt():
    """The answer to a body without a prompt: a bare string in old versions."""
    if not personality.IS_MODERN:
        return {"error": "no prompt", "node_errors": []}
    return {"error": problem("no_prompt", "No prompt provided", "No prompt provided"), "node_errors": {}}


def _from_exception(kind, message, error, **extra):
    trace = traceback.format_tb(sys.exc_info()[2])
    return problem(kind, message, str(error), exception_type=full_type_name(type(error)), traceback=trace, **extra)


def types_match(received, wanted):
    """Equal, or comma-separated unions with a common member. Packs may overload != for a wildcard."""
    if not received != wanted:
        return True
    if not isinstance(received, str) or not isinstance(wanted, str):
        return False
    return bool({part.strip() for part in received.split(",")} & {part.strip() for part in wanted.split(",")})


class _NodeCheck:
    """The check of one node's inputs; recursion over links goes through the shared dictionary of results."""

    def __init__(self, prompt, node_id, results):
        self.prompt, self.node_id, self.results = prompt, node_id, results
        self.inputs = prompt[node_id]["inputs"]
        self.node_class = NODE_CLASS_MAPPINGS[prompt[node_id]["class_type"]]
        self.errors = []
        self.valid = True
        self.received_types = {}
        self.own_check = getattr(self.node_class, "VALIDATE_INPUTS", None)
        spec = inspect.getfullargspec(self.own_check) if self.own_check else None
        self.own_names = spec.args if spec else []
        self.own_takes_all = bool(spec and spec.varkw)

    def run(self):
        declared = self.node_class.INPUT_TYPES()
        for name in list(declared.get("required", {})) + list(declared.get("optional", {})):
            kind, category, options = input_info(self.node_class, name, declared)
            if name not in self.inputs:
                if category == "required":
                    self.errors.append(problem("required_input_missing", "Required input is missing", name, input_name=name))
            elif isinstance(self.inputs[name], list):
                self._check_link(name, kind, (kind, options))
            else:
                self._check_value(name, kind, options)
        if self.own_check:
            self._run_own_check()
        return self.valid and not self.errors, self.errors

    def _check_link(self, name, kind, info):
        link = self.inputs[name]
        if len(link) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            self.errors.append(problem("bad_linked_input", message, name, input_name=name, input_config=info, received_value=link))
            return
        source = link[0]
        received = NODE_CLASS_MAPPINGS[self.prompt[source]["class_type"]].RETURN_TYPES[link[1]]
        self.received_types[name] = received
        if "input_types" not in self.own_names and not types_match(received, kind):
            details = "%s, received_type(%s) mismatch input_type(%s)" % (name, received, kind)
            extra = {"input_name": name, "input_config": info, "received_type": received, "linked_node": link}
            self.errors.append(problem("return_type_mismatch", "Return type mismatch between linked nodes", details, **extra))
            return
        try:
            self.valid = check_node(self.prompt, source, self.results)[0] and self.valid
        except Exception as error:
            self.valid = False
            extra = {"input_name": name, "input_config": info, "exception_message": str(error), "linked_node": link}
            message = "Exception when validating inner node"
            self.results[source] = (False, [_from_exception("exception_during_inner_validation", message, error, **extra)])

    def _check_value(self, name, kind, options):
        info = (kind, options)
        value = self.inputs[name]
        if personality.IS_MODERN and isinstance(value, dict) and "__value__" in value:
            value = self.inputs[name] = value["__value__"]
        try:
            if isinstance(kind, str) and kind in CONVERTERS:
                value = self.inputs[name] = CONVERTERS[kind](value)
        except Exception as error:
            message = "Failed to convert an input value to a %s value" % kind
            extra = {"input_name": name, "input_config": info, "received_value": value, "exception_message": str(error)}
            self.errors.append(problem("invalid_input_type", message, "%s, %s, %s" % (name, value, error), **extra))
            return
        if name in self.own_names or self.own_takes_all:
            return
        extra = {"input_name": name, "input_config": info, "received_value": value}
        if "min" in options and value < options["min"]:
            message = "Value {} smaller than min of {}".format(value, options["min"])
            self.errors.append(problem("value_smaller_than_min", message, name, **extra))
        elif "max" in options and value > options["max"]:
            message = "Value {} bigger than max of {}".format(value, options["max"])
            self.errors.append(problem("value_bigger_than_max", message, name, **extra))
        elif isinstance(kind, list) and value not in kind:
            listed = str(kind)
            if len(kind) > LONGEST_LISTED:
                listed, extra["input_config"] = "(list of length %d)" % len(kind), None
            self.errors.append(problem("value_not_in_list", "Value not in list", "%s: '%s' not in %s" % (name, value, listed), **extra))

    def _run_own_check(self):
        """Call the class's VALIDATE_INPUTS with the constants it asks for; links are passed as None."""
        values = {name: None if isinstance(value, list) else value for name, value in self.inputs.items()}
        asked = {name: value for name, value in values.items() if name in self.own_names or self.own_takes_all}
        arguments = dict(asked)
        if "input_types" in self.own_names:
            arguments["input_types"] = self.received_types
        answer = self.own_check(**arguments)
        if answer is True:
            return
        for name in asked:
            details = name if answer is False else "%s - %s" % (name, answer)
            self.errors.append(problem("custom_validation_failed", "Custom validation failed for node", details, input_name=name))


def check_node(prompt, node_id, results):
    if node_id not in results:
        results[node_id] = _NodeCheck(prompt, node_id, results).run()
    return results[node_id]


def _refusal(kind, message, details=""):
    """A prompt that cannot even be looked at node by node."""
    return Verdict(problem(kind, message, details), [], {} if personality.HAS_BASE_DIRECTORY else [])


def _log_reasons(reasons):
    for reason in reasons:
        logging.error("  - %s: %s", reason["message"], reason["details"])


def validate_prompt(prompt, wanted_outputs=None):
    """The verdict on a whole graph; wanted_outputs restricts it to some output nodes."""
    outputs = []
    for node_id, node in prompt.items():
        where = "Node ID '#%s'" % node_id
        if "class_type" not in node:
            return _refusal("invalid_prompt", "Cannot execute because a node is missing the class_type property.", where)
        if node["class_type"] not in NODE_CLASS_MAPPINGS:
            return _refusal("invalid_prompt", "Cannot execute because node %s does not exist." % node["class_type"], where)
        wanted = wanted_outputs is None or node_id in wanted_outputs
        if wanted and is_output_node(NODE_CLASS_MAPPINGS[node["class_type"]]):
            outputs.append(node_id)
    if not outputs:
        return _refusal("prompt_no_outputs", "Prompt has no outputs")

    good, output_reasons, node_errors, results = [], [], {}, {}
    for output in outputs:
        try:
            valid, reasons = check_node(prompt, output, results)
        except Exception as error:
            valid, reasons = False, [_from_exception("exception_during_validation", "Exception when validating node", error)]
            results[output] = (False, reasons)
        if valid:
            good.append(output)
            continue
        logging.error("Failed to validate prompt for output %s:", output)
        if reasons:
            logging.error("* (prompt):")
            _log_reasons(reasons)
        output_reasons += reasons
        _collect_node_errors(prompt, output, results, node_errors)
        logging.error("Output will be ignored")
    if good:
        return Verdict(None, good, node_errors)
    details = "\n".join("%s: %s" % (reason["message"], reason["details"]) for reason in output_reasons)
    return Verdict(problem("prompt_outputs_failed_validation", "Prompt outputs failed validation", details), [], node_errors)


def _collect_node_errors(prompt, output, results, node_errors):
    for node_id, (valid, reasons) in results.items():
        if valid or not reasons:
            continue
        class_type = prompt[node_id]["class_type"]
        if node_id not in node_errors:
            node_errors[node_id] = {"errors": reasons, "dependent_outputs": [], "class_type": class_type}
            logging.error("* %s %s:", class_type, node_id)
            _log_reasons(reasons)
        node_errors[node_id]["dependent_outputs"].append(output)

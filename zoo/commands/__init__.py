"""What packages import whose commands `zoo` takes in: options, output, files. No torch, so that help starts at once.

Names and behaviour here and in `zoo.commands.models` are covered by `zoo.contracts.API_VERSION`, as those of
`zoo.blocks` are.
"""

from zoo.cli.options import AnyModel as AnyModel
from zoo.cli.options import ImageSize as ImageSize
from zoo.cli.options import Json as Json
from zoo.cli.options import key_values as key_values
from zoo.cli.options import model_reference as model_reference
from zoo.cli.output import counted as counted
from zoo.cli.output import print_rows as print_rows
from zoo.cli.output import say as say
from zoo.files import folder_beside as folder_beside
from zoo.files import replace_bytes as replace_bytes
from zoo.files import replace_file as replace_file
from zoo.progress import progress as progress
from zoo.registry.components import Registry as Registry
from zoo.registry.components import default_registry as default_registry
from zoo.registry.installing import import_plugin as import_plugin
from zoo.registry.installing import missing_extra as missing_extra

import { nearestNames, suggestion, UserError } from '../../../isa/user-error.ts'
import type { CompareScenario } from '../scenario.ts'
import { cetScenarios } from './cet.ts'
import { permissionScenarios } from './permission.ts'
import { reallocationScenarios } from './reallocation.ts'
import { splitLockScenarios } from './split-lock.ts'
import { xsaveScenarios } from './xsave.ts'

/** Every scenario that ships, by document. */
export const compareScenarios: readonly CompareScenario[] = [
  ...permissionScenarios,
  ...splitLockScenarios,
  ...reallocationScenarios,
  ...xsaveScenarios,
  ...cetScenarios,
]

/** The scenario called `name`. @throws UserError with the nearest names */
export function compareScenario(name: string): CompareScenario {
  const scenario = compareScenarios.find((s) => s.name === name)
  if (scenario !== undefined) return scenario
  const names = compareScenarios.map((s) => s.name)
  const nearest = nearestNames(name, names)
  throw new UserError({
    code: 'unknown-scenario',
    what: `unknown scenario '${name}'`,
    where: '--scenario',
    because: 'no such scenario, and no such file',
    fix: suggestion(nearest, 'worldswitch compare --list names them'),
    nearest,
  })
}

import { define } from '../../translate/definitions.ts'

/**
 * Control-flow enforcement is not executed yet (issue 3): with CR4.CET clear, or the feature off in the CET MSRs, these are
 * what they are to every processor: no operation. Nothing lets CR4.CET be set.
 */
define('ENDBR64', () => {})
define('ENDBR32', () => {})
define('RDSSPD', () => {})
define('RDSSPQ', () => {})

import site
import sysconfig

print(site.ENABLE_USER_SITE, site.PREFIXES, site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("stdlib"))
